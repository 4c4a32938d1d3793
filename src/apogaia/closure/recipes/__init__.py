"""How a trial recovers its zero point: one module for each recipe, so that its result depends on no other."""
