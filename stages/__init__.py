"""The stages as Ray actors. An actor owns a device, state and concurrency, and nothing else."""
