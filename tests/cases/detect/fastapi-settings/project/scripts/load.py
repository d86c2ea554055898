import os
os.environ["ONLY_FOR_THE_SCRIPT"]
