"""The model that ships with the project, the script that made it, and the demonstration."""
