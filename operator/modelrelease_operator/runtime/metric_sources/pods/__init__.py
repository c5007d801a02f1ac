"""The pods' own pages of metrics as a source: no server stands between them and the operator."""
