"""The only place where a config becomes objects.

Nothing is imported here: predictions need neither Lightning nor augmentation, whose import takes
longer than a prediction.
"""
