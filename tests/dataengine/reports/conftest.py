import sys
from pathlib import Path

# The sample shards are made by the helper that lies with the tests of shards.
sys.path.append(str(Path(__file__).parents[1] / "shards"))
