"""Training without Ray: recipes, data streams, simulated prompts, losses and a loop to read in one go."""
