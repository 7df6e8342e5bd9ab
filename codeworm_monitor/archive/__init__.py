"""The archive: every message kept on disk, and read back by offset or by time.

A directory, owned by one user (0700, files 0600)::

    archive.sqlite                                     what came lately, a row an entry (`database`)
    date=2026-11-22/channel=codeworm%3Alogs/*.parquet  closed UTC days, a row an entry (`parquet`)
    damaged/                                           what was set aside as unreadable (`repair`)
    writer.lock, compaction.lock, import.lock          held by who relays, compacts, imports

The database says which of the Parquet files count: a row is in one of them or in the database, never in both and
never in neither, whatever is interrupted.
"""
