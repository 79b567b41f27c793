"""What a model is given as: checkpoints, files, modules, and what lies beside them."""
