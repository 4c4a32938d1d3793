"""How a trial recovers its zero point: one module per recipe, so that each result depends on little else."""
