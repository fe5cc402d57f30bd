"""How things are measured: timing, memory, traces, the machine, the data, the result file."""
