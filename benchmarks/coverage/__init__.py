"""Which architectures of the transformers library compile, and how right they are: one tiny random model of each."""
