"""S3, and what speaks like it: sessions, failures, transfers, and the object store on it.

boto3 is imported here alone.
"""
