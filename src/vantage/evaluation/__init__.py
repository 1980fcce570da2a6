"""How good a model is on questions that it did not train on."""
