"""For all tests: Hypothesis judges what is tested, not how busy the machine is that makes its examples."""

from hypothesis import HealthCheck, settings

settings.register_profile("henslowe", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("henslowe")
