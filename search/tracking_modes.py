"""Whether and where SwanLab shows a sweep; spelled once for the command line and the writer."""

OFF, OFFLINE, CLOUD = "off", "offline", "cloud"
TRACKING_MODES = (OFF, OFFLINE, CLOUD)
PROBLEM, WRITTEN = "problem: ", "written: "  # how the writer's lines to the sweep begin
