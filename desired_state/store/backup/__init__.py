"""Backups: the file, its encryption, copying a database into it and out of it again.

Callers: the controller's job, `x3fleet backup`. Not here: when a backup is due (`model.backups`), asking
panels for theirs (`controller.panels`), what a person accepts afterwards (`commands.recovery`).
"""
