"""Whether and where SwanLab shows a sweep; spelled once for the command line and the tracker."""

OFF, OFFLINE, CLOUD = "off", "offline", "cloud"
TRACKING_MODES = (OFF, OFFLINE, CLOUD)
