"""What a model costs before it is trained: parameters, FLOPs, memory, and what devices can do."""
