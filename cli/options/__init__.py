"""The options of engine commands, and the parts of a specification that they make."""
