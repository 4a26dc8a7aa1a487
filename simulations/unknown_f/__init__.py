"""What it costs not to know f: f told, f true, f="auto", rules without f, and detectors."""
