"""Count every neuron once: label-guided whole-brain calcium imaging."""
