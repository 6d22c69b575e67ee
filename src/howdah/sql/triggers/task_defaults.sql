-- For plain INSERT: the kind's defaults. The WHEN below keeps howdah.enqueue and COPY, which fill everything in, out of here.
create or replace function howdah.task_defaults() returns trigger
language plpgsql
as $$
declare
  defaults howdah.kind := howdah.known_step(new.kind, new.step);
  taken    howdah.key;
begin
  new.queue := coalesce(new.queue, defaults.queue);
  new.priority := coalesce(new.priority, defaults.priority);
  new.run_at := coalesce(new.run_at, howdah.now() + defaults.delay);
  new.key := coalesce(new.key, howdah.filled(defaults.key, new.payload));
  if new.key is not null then
    select * into taken from howdah.key k where k.key = new.key and k.until > howdah.now();
    if found then
      perform howdah.refuse_key(new.key, taken.task_id, taken.kind, (select t.status from howdah.task t where t.id = taken.task_id), 'raise', 'asked');
    elsif defaults.unique_for is not null then
      -- It would be written after this row, which is not there yet.
      raise exception using errcode = 'HW002', message = format('tasks of kind %s keep their keys taken when they have ended, which INSERT cannot do for key %L', new.kind, new.key),
        hint = format('SELECT howdah.enqueue(%L, …)', new.kind);
    end if;
  end if;
  new.groups := coalesce(new.groups, howdah.filled_groups(defaults.groups, new.payload));
  new.cost := coalesce(new.cost, defaults.cost);
  new.start_before := coalesce(new.start_before, howdah.now() + defaults.start_within);
  new.finish_before := coalesce(new.finish_before, howdah.now() + defaults.finish_within);
  if num_nonnulls(new.start_before, new.finish_before) > 0 then
    new.late := coalesce(new.late, defaults.late);
  end if;
  return new;
end
$$;
comment on function howdah.task_defaults() is 'Trigger: INSERT INTO howdah.task (kind, payload) gets queue, priority, time, key, groups and deadlines from the kind.';
create or replace trigger task_defaults before insert on howdah.task
  for each row when (new.queue is null or new.priority is null or new.run_at is null)
  execute function howdah.task_defaults();
