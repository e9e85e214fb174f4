"""What is done to a title, one step a file: functions from documents to one document. They know no pipeline."""
