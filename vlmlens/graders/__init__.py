"""Grading by fixed rules and no judge: what was said, the right answer, the choices."""

from vlmlens.graders.naming import grade, same
from vlmlens.graders.options import right_choice
from vlmlens.graders.words import plain

__all__ = ["grade", "plain", "right_choice", "same"]
