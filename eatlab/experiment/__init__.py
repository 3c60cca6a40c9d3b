"""From a config to a run folder, a table and a report; results are files, and nobody types one."""
