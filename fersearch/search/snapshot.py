"""What a trial may know, shown to Optuna as a study: trials that are shared and never changed."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

__all__ = ["Snapshot"]

STUDY_ID = 0


class Snapshot(BaseStorage):
    """A storage in memory that holds one study, made of trials that others hold too.

    Every proposal and every pruning decision is made on a study of its own. Optuna's storage in
    memory copies each trial that it is given; with this one a study of a thousand trials is made
    in no time. A trial that is changed is replaced by a changed copy, in this storage alone.

    Args:
        trials: The trials by number; each one's id is its number.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        self._trials = list(trials)
        self._name = ""
        self._directions: list[StudyDirection] = []
        self._user_attrs: dict[str, Any] = {}
        self._system_attrs: dict[str, Any] = {}

    # --- the study ------------------------------------------------------------------------------

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Name the study and its directions."""
        self._name, self._directions = study_name or "", list(directions)
        return STUDY_ID

    def delete_study(self, study_id: int) -> None:
        """Forget the trials."""
        self._trials = []

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of the study."""
        self._user_attrs = {**self._user_attrs, key: value}

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set what a sampler notes about the study."""
        self._system_attrs = {**self._system_attrs, key: value}

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the study's id."""
        if study_name != self._name:
            raise KeyError(f"there is no study {study_name}")
        return STUDY_ID

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the study's name."""
        return self._name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the directions of the objectives."""
        return self._directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the study's attributes."""
        return self._user_attrs

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what samplers noted about the study."""
        return self._system_attrs

    def get_all_studies(self) -> list[Any]:
        """Return nothing: no sampler or pruner asks for other studies."""
        return []

    # --- its trials -----------------------------------------------------------------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial, running where no other is given; return its id, which is its number."""
        trial = copy.copy(template_trial or create_trial(state=TrialState.RUNNING))
        trial.number = trial._trial_id = len(self._trials)
        self._trials.append(trial)
        return trial.number

    def _changed(self, trial_id: int) -> FrozenTrial:
        """Replace an unfinished trial by a copy, which may be changed, and return that."""
        self.check_trial_is_updatable(trial_id, self._trials[trial_id].state)
        trial = self._trials[trial_id] = copy.copy(self._trials[trial_id])
        return trial

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Set a parameter of a trial."""
        trial = self._changed(trial_id)
        value = distribution.to_external_repr(param_value_internal)
        trial.params = {**trial.params, param_name: value}
        trial.distributions = {**trial.distributions, param_name: distribution}

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set how a trial ended."""
        trial = self._changed(trial_id)
        trial.state = state
        if values is not None:
            trial.values = list(values)
        return True

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Set what a trial reported for a step."""
        trial = self._changed(trial_id)
        trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of a trial."""
        trial = self._changed(trial_id)
        trial.user_attrs = {**trial.user_attrs, key: value}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set what a sampler or pruner notes about a trial."""
        trial = self._changed(trial_id)
        trial.system_attrs = {**trial.system_attrs, key: value}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        if not 0 <= trial_id < len(self._trials):
            raise KeyError(f"there is no trial {trial_id}")
        return self._trials[trial_id]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials by number, those in ``states`` where they are given."""
        trials = self._trials if states is None else [t for t in self._trials if t.state in states]
        return copy.deepcopy(trials) if deepcopy else list(trials)
