"""Values that users give: the arguments of functions, and what is wrong with them in words."""
