"""The commands, one module each: what they take and print. What they do is imported when they run.

Importing a module here must be cheap, because `tandem --help` imports all of them, and possible
without the extra `local`.
"""
