"""The stages of a job, a file each, named as its event is named."""
