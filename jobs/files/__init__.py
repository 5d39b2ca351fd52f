"""The files of jobs: a folder or an object store, written whole or not at all."""
