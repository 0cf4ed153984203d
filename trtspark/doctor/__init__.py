"""What `trtspark doctor` does: look at everything at once (gather), judge it (rows), show it (show), and
pack it (archive).
"""
