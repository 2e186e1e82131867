"""The command line: a module per group of commands. What a command runs is imported when it is called."""
