"""Leukemia: experiments on blood-smear images whose numbers can be trusted."""

__version__ = "0.1.0"
