"""Items of the cache passed on: remotes, checks, what may go, and HDF5 files.

Whatever comes from elsewhere is verified before it has a name in the cache: its digest, and that it
is the item which its name says. Digests find damage and mistakes, no malice: who can write to a
place that you pull from can write numbers of his own under a key.
"""
