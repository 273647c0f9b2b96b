# SPDX-License-Identifier: Apache-2.0
"""The backups: archives that are made in stage 1 and put on the new system's data partition.

Two forms, and a migration may have one of each. A plain archive of BACKUP_DIRECTORIES, as made by tar, is on
resin-data for people to look into. An archive of BACKUP_VOLUMES is named backup.tgz there, and balena's supervisor
makes volumes of its folders.
"""

from __future__ import annotations

from balena_migrate.carried.backup.make import BackupResult, make_backup
from balena_migrate.carried.backup.plan import BackupPlan, SparseFile, plan_backups
from balena_migrate.carried.backup.tree import BackupItem, Skipped

__all__ = ["BackupItem", "BackupPlan", "BackupResult", "Skipped", "SparseFile", "make_backup", "plan_backups"]
