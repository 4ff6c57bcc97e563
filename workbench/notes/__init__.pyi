from .notes import Notes, open_notes

__all__ = ["Notes", "open_notes"]
