-- State machines and actors: steps of a kind, parents and children, inboxes.

alter table howdah.kind
  add column steps jsonb check (jsonb_typeof(steps) = 'object'),
  add column inbox jsonb;
comment on column howdah.kind.steps is 'The steps of a state machine: {"name": {"position", "start", "next", "ends", "signature", and what it sets otherwise than its kind}}. NULL: no machine.';
comment on column howdah.kind.inbox is 'JSON Schema of the messages it takes; NULL: it takes none.';

alter table howdah.task
  add column parent    bigint,
  add column children  int not null default 0,
  add column joining   boolean not null default false,
  add column told      boolean not null default false,
  add column inbox_seq bigint not null default 0;
comment on column howdah.task.parent is 'The task that spawned it, and that is told its end.';
comment on column howdah.task.children is 'How many tasks it spawned have not told their end yet.';
comment on column howdah.task.joining is 'While suspended: it waits for all of its children, not for any message.';
comment on column howdah.task.told is 'Its parent was told of its end, or of its being parked.';
comment on column howdah.task.inbox_seq is 'How many messages it was ever sent. Sender and sleeper meet here: it suspends only if this is what it was when its inbox was read.';
comment on column howdah.task.run_at is 'When it is due. While suspended: when it is woken without a message; infinity is never.';

-- Only those that have a parent, or an alarm: nothing for the others to write.
create index task_parent on howdah.task (parent, id) where parent is not null;
create index task_alarm on howdah.task (run_at) where status = 'suspended' and run_at < 'infinity';

alter table howdah.archive add column parent bigint;

create table howdah.message (
  task_id bigint not null,
  id      bigint generated always as identity,
  sender  bigint,
  type    text not null default 'message' check (type in ('message', 'eof')),
  body    jsonb not null,
  sent_at timestamptz not null default clock_timestamp(),
  primary key (task_id, id)
) with (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_threshold = 5000, autovacuum_analyze_scale_factor = 0.1);
comment on table howdah.message is 'The inboxes: what was sent to a task and not consumed yet, in order of id. Send with howdah.send.';
comment on column howdah.message.task_id is 'Whose inbox it is in.';
comment on column howdah.message.sender is 'The task that sent it; NULL: somebody outside.';
comment on column howdah.message.type is 'message, or eof: a child has ended or is parked; body is then {"status", "result", "error"}.';
