-- What became of instants that did not fire, over all triggers: few rows among many.

CREATE INDEX fires_not_fired ON brain.fires (outcome, due_at DESC, trigger_id DESC) WHERE outcome <> 'fired';
