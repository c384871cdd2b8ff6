"""Releases: the index of finished shards, checksums, links, the dataset card, a sample; and their verification.

Every path of a release is relative to the folder that holds `shards/` and `releases/`: the home, or a mirror of it.
"""

from dataengine.release.names import check_base_url, check_version, releases
from dataengine.release.verify import is_release, verify_release
from dataengine.release.write import write_release

__all__ = ["check_base_url", "check_version", "is_release", "releases", "verify_release", "write_release"]
