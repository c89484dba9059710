"""From a table of predictions to numbers, intervals and figures."""
