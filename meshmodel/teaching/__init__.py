"""What the chapters show: figures, consoles, the theatre, exercises; and in which language."""

from meshmodel.teaching.words import choose as language

__all__ = ["language"]
