-- Sources: what makes tasks without anybody enqueueing them.

create table howdah.schedule (
  name       text primary key check (length(name) between 1 and 200),
  kind       text not null check (length(kind) between 1 and 200),
  step       text,
  payload    jsonb not null default '{}' check (jsonb_typeof(payload) = 'object'),
  queue      text check (length(queue) between 1 and 200),
  priority   int,
  cron       text,
  every      interval check (every >= '0.1 s'),
  timezone   text not null default 'UTC',
  missed     text not null default 'latest' check (missed in ('skip', 'latest', 'all')),
  overlap    text not null default 'allow' check (overlap in ('allow', 'skip', 'queue')),
  jitter     interval not null default '0' check (jitter >= '0'),
  starts_at  timestamptz check (isfinite(starts_at)),
  ends_at    timestamptz check (isfinite(ends_at)),
  anchor     timestamptz not null,
  declared   boolean not null default false,
  paused_at  timestamptz,
  paused_by  text,
  reason     text,
  retired_at timestamptz,
  after      timestamptz not null,
  next_at    timestamptz,
  over       boolean not null default false,
  fired      bigint not null default 0,
  skipped    bigint not null default 0,
  last_tick  timestamptz,
  last_task  bigint,
  error      text,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint cron_or_every check (num_nonnulls(cron, every) = 1)
);
comment on table howdah.schedule is 'The schedules: each fires one task per tick, whoever of the workers is first. Made by howdah.schedule, or declared in code.';
comment on column howdah.schedule.payload is 'What each task gets.';
comment on column howdah.schedule.queue is 'Where its tasks go; NULL: what the kind says. So with priority.';
comment on column howdah.schedule.cron is 'Five fields, or six with the seconds first, or @daily and the like.';
comment on column howdah.schedule.every is 'Instead of cron: this much time between two ticks, counted from anchor.';
comment on column howdah.schedule.timezone is 'Whose clock cron means.';
comment on column howdah.schedule.missed is 'Ticks that nobody fired in time: skip them, fire the latest of them, or all.';
comment on column howdah.schedule.overlap is 'With a task of it still live (parked ones do not count): allow another, skip the tick, or queue it behind.';
comment on column howdah.schedule.jitter is 'Each task starts up to so much later, at random.';
comment on column howdah.schedule.ends_at is 'No tick at or after this.';
comment on column howdah.schedule.anchor is 'Where every counts from: starts_at, or a random phase, so that not all intervals of a fleet fire together.';
comment on column howdah.schedule.declared is 'Made by the code of a worker, which says it anew at each start.';
comment on column howdah.schedule.paused_at is 'It fires nothing until it is resumed; what it would have fired meanwhile is not made up for.';
comment on column howdah.schedule.retired_at is 'The code of its kind declares it no more.';
comment on column howdah.schedule.after is 'All ticks up to here are dealt with. Whoever fires the next one moves it, if it still is what he saw.';
comment on column howdah.schedule.next_at is 'The first tick after that; NULL: not worked out yet.';
comment on column howdah.schedule.over is 'There is no further tick.';
comment on column howdah.schedule.skipped is 'Ticks that made no task: missed, or while another was live.';
comment on column howdah.schedule.error is 'Why it cannot fire.';

alter table howdah.task
  add column source text,
  add column tick   timestamptz;
comment on column howdah.task.source is 'What made it: schedule:NAME, poller:NAME, or task:ID for an event of a pipeline that another became. NULL: it was enqueued.';
comment on column howdah.task.tick is 'The time of its schedule that it was fired for.';
create unique index task_source on howdah.task (source, tick) where source is not null;
create index task_in_line on howdah.task (source, tick) where status = 'suspended' and source is not null;

alter table howdah.archive
  add column source text,
  add column tick   timestamptz;

alter table howdah.queue
  add column max_running int check (max_running >= 1);
comment on column howdah.queue.max_running is 'At most so many of its tasks run at once, in the whole fleet; NULL: no limit but those of the workers.';
