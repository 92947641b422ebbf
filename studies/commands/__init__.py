"""The commands of `rigl-study`, a module a group."""
