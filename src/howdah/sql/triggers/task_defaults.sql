-- For plain INSERT: the kind's defaults. The WHEN below keeps howdah.enqueue and COPY, which fill everything in, out of here.
create or replace function howdah.task_defaults() returns trigger
language plpgsql
as $$
declare
  defaults howdah.kind := howdah.known_step(new.kind, new.step);
begin
  new.queue := coalesce(new.queue, defaults.queue);
  new.priority := coalesce(new.priority, defaults.priority);
  new.run_at := coalesce(new.run_at, howdah.now() + defaults.delay);
  return new;
end
$$;
comment on function howdah.task_defaults() is 'Trigger: INSERT INTO howdah.task (kind, payload) gets queue, priority and time from the kind.';
create or replace trigger task_defaults before insert on howdah.task
  for each row when (new.queue is null or new.priority is null or new.run_at is null)
  execute function howdah.task_defaults();
