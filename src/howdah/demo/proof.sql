-- The proof and the figures of the report, for people too: SELECT * FROM howdah_demo.proof.

create view howdah_demo.file as
select t.payload ->> 'run' as run, t.payload ->> 'path' as path, t.id, t.status, t.attempt, t.lost, t.error, t.result, t.worker, t.run_at
  from howdah.tasks t
 where t.kind = 'demo.file' and t.queue = 'demo' and exists (select from howdah_demo.run r where r.run = t.payload ->> 'run');
comment on view howdah_demo.file is 'The task of each file, live or ended.';

create view howdah_demo.happened as
select f.run, f.path, f.status, e.*
  from howdah_demo.file f join howdah.event e on e.task_id = f.id;
comment on view howdah_demo.happened is 'The history of all files'' tasks.';

create view howdah_demo.progress as
select r.run, r.files,
       (select count(*) from howdah_demo.result d where d.run = r.run) as done,
       count(t.id) filter (where t.status = 'failed') as parked,
       count(t.id) filter (where t.status = 'running') as running,
       count(t.id) filter (where t.status = 'queued') as queued,
       count(t.id) filter (where t.status = 'queued' and t.run_at <= clock_timestamp()) as due,
       coalesce(extract(epoch from clock_timestamp() - min(t.run_at) filter (where t.status = 'queued' and t.run_at <= clock_timestamp())), 0)::float8 as waiting
  from howdah_demo.run r
  left join howdah.task t on t.kind = 'demo.file' and t.queue = 'demo' and t.payload ->> 'run' = r.run
 group by r.run;
comment on view howdah_demo.progress is 'Where the run stands. waiting: seconds the oldest due file has waited.';

create view howdah_demo.worker as
select w.id, w.pid, count(t.id) as held
  from howdah.worker w left join howdah.task t on t.worker = w.id and t.status = 'running'
 where w.status = 'live' and w.stop_at is null and w.kinds @> '{demo.file}'
 group by w.id order by held desc, w.started_at;
comment on view howdah_demo.worker is 'The living workers of the demo, and how many tasks each holds.';

create view howdah_demo.taken_back as
select h.run, h.path, h.task_id, h.status, extract(epoch from h.at - r.killed_at)::float8 as seconds
  from howdah_demo.happened h join howdah_demo.run r on r.run = h.run and r.killed_worker = h.worker
 where h.type = 'crash';
comment on view howdah_demo.taken_back is 'The tasks that the killed worker held, and how many seconds after the kill each was taken back.';

-- lost:  files that neither have a result nor are parked.
-- twice: results beyond the first of a file, and files that were examined and are parked as well.
-- torn:  results whose task did not end, and ended tasks without their result: they commit together or not at all.
-- counted: what the actor was told, a message per file: they commit with the results, and are read once.
create view howdah_demo.proof as
with done as (
  select run, count(*) as results, count(distinct path) as paths, max(at) as last_at from howdah_demo.result group by run
), tasks as (
  select f.run,
         count(*) filter (where f.status = 'failed') as parked,
         count(distinct f.path) filter (where f.status = 'failed' and d.path is null) as only_parked,
         count(distinct f.path) filter (where f.status = 'failed' and d.path is not null) as parked_too,
         count(distinct f.id) filter (where (f.status = 'succeeded') <> (d.path is not null)) as torn
    from howdah_demo.file f left join howdah_demo.result d on d.run = f.run and d.task_id = f.id
   group by f.run
), history as (
  select run,
         count(*) filter (where type = 'retry') as retries,
         max(at) filter (where type = 'failure') as last_at
    from howdah_demo.happened group by run
), back as (
  select run, count(*) as taken_back, count(*) filter (where status in ('succeeded', 'failed')) as finished, max(seconds) as after
    from howdah_demo.taken_back group by run
)
select r.run, r.folder, r.files,
       coalesce(done.results, 0) as results,
       coalesce(tasks.parked, 0) as parked,
       r.files - coalesce(done.paths, 0) - coalesce(tasks.only_parked, 0) as lost,
       coalesce(done.results - done.paths, 0) + coalesce(tasks.parked_too, 0) as twice,
       coalesce(tasks.torn, 0) as torn,
       clock.seconds,
       case when clock.seconds > 0 then r.files / clock.seconds end as rate,
       coalesce(history.retries, 0) as retries,
       r.held,
       coalesce(back.taken_back, 0) as taken_back,
       coalesce(back.finished, 0) as finished_by_others,
       back.after as taken_back_after,
       coalesce((tally.result ->> 'files')::int, 0) as counted,
       coalesce((tally.result ->> 'lines')::int, 0) as counted_lines,
       (select count(*) from howdah.event e where e.task_id = reporter.id and e.type in ('step', 'end')) as steps,
       reporter.id as reporter
  from howdah_demo.run r
  left join done using (run)
  left join tasks using (run)
  left join history using (run)
  left join back using (run)
  left join howdah.archive tally on tally.kind = 'demo.tally' and tally.status = 'succeeded' and tally.payload ->> 'run_id' = r.run
  left join howdah.task reporter on reporter.kind = 'demo.report' and reporter.payload ->> 'run_id' = r.run
 cross join lateral (
   select extract(epoch from greatest(done.last_at, history.last_at) - r.started_at)::float8 as seconds
 ) clock;
comment on view howdah_demo.proof is 'Files in, results out, and what became of the rest. It holds when lost, twice and torn are 0, and counted is results.';

-- ── what the report lists ──

create view howdah_demo.parked as
select run, split_part(error, ':', 1) as reason, count(*) as files, max(attempt) as attempts, min(id) as example, min(path) as path
  from howdah_demo.file where status = 'failed' group by 1, 2 order by files desc, reason;
comment on view howdah_demo.parked is 'Why files are parked, most frequent first.';

create view howdah_demo.total as
select run, sum((result ->> 'bytes')::bigint)::bigint as bytes, sum((result ->> 'lines')::bigint)::bigint as lines,
       sum((result ->> 'functions')::bigint)::bigint as functions, sum((result ->> 'classes')::bigint)::bigint as classes
  from howdah_demo.file where status = 'succeeded' group by run;
comment on view howdah_demo.total is 'What is in the files, all together.';

create view howdah_demo.biggest as
select run, path, (result ->> 'bytes')::bigint as bytes, (result ->> 'lines')::bigint as lines
  from howdah_demo.file where status = 'succeeded' order by bytes desc, path;
comment on view howdah_demo.biggest is 'The files, biggest first.';

create view howdah_demo.identifier as
select f.run, i.key as identifier, sum(i.value::bigint)::bigint as times, count(*) as files
  from howdah_demo.file f cross join jsonb_each_text(f.result -> 'identifiers') i
 where f.status = 'succeeded' group by 1, 2 order by times desc, identifier;
comment on view howdah_demo.identifier is 'Names that are among the twenty most used ones of a file, most used first.';

create view howdah_demo.duplicate as
select run, result ->> 'sha256' as sha256, count(*) as files, (min((result ->> 'bytes')::bigint) * (count(*) - 1))::bigint as spare_bytes,
       array_agg(path order by path) as paths
  from howdah_demo.file where status = 'succeeded' and (result ->> 'bytes')::bigint > 0
 group by 1, 2 having count(*) > 1 order by spare_bytes desc, sha256;
comment on view howdah_demo.duplicate is 'Files with the same content, those that waste most first; empty ones do not count.';
