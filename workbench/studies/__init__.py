"""Studies: whole experiments on the workbench, one package each, from their data to their figures."""
