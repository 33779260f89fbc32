"""The application: it has no models, and registers the checks."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register


class PillarboxConfig(AppConfig):
    """``INSTALLED_APPS = [..., "pillarbox.integrations.django"]``."""

    name = "pillarbox.integrations.django"
    label = "pillarbox"
    verbose_name = "pillarbox"

    def ready(self) -> None:
        """Register the checks."""
        from pillarbox.integrations.django.checks import check_settings

        register(check_settings)
