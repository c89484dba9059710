"""A batch becomes logits and a loss."""
