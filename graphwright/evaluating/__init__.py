"""How well a model predicts a text; programs in the reference interpreter."""
