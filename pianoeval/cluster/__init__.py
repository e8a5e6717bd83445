"""Items computed on a Dask cluster: a fill for the builder, its workers' checks, SLURM jobs."""
