"""How a trial recovers its zero point: a module for each kind of recipe, so that its result depends on little else."""
